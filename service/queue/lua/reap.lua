-- running -> queued | failed where a lease ran out, queued | running -> expired past a deadline.
-- Replies {requeued, dead, expired}, each a flat list of id, model.
local lease_ms, max_attempts = unpack(ARGV)
local requeued, dead, expired = {}, {}, {}

local function note(list, job)
  list[#list + 1] = job.id
  list[#list + 1] = job.model
end

local due = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', exact(now()), 'LIMIT', 0,
                       REAPED_AT_ONCE)
for _, id in ipairs(due) do
  local job = read_job(id)
  if job then
    end_job(job, 'expired', 'its deadline passed while it was ' .. job.status)
    note(expired, job)
  else
    redis.call('ZREM', DEADLINES, id)
  end
end

for _, stream in ipairs(redis.call('SMEMBERS', STREAMS)) do
  local stale = redis.call('XPENDING', stream, GROUP, 'IDLE', lease_ms, '-', '+',
                           REAPED_AT_ONCE, HELD)
  for _, pending in ipairs(stale) do
    local entry = redis.call('XRANGE', stream, pending[1], pending[1])
    local job = entry[1] and read_job(entry[1][2][2])
    if job then
      local again = try_again(job, max_attempts, 'its worker stopped renewing the lease')
      note(again and requeued or dead, job)
    else
      redis.call('XACK', stream, GROUP, pending[1])
    end
  end
end
return {requeued, dead, expired}
