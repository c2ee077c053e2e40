-- queued -> running, for the first job over all the models given; nil when there is none.
-- Jobs past their deadline expire on the way.
local worker = ARGV[1]

local function first_queued()
  local id, place
  for i = 2, #ARGV do
    local head = redis.call('ZRANGE', QUEUED .. ARGV[i], 0, 0, 'WITHSCORES')
    if head[1] and (not place or tonumber(head[2]) < place) then
      id, place = head[1], tonumber(head[2])
    end
  end
  return id and read_job(id)
end

-- A job that ran before is pending already; any other is the next undelivered entry. Entries
-- ahead of it have no queued job: they are dropped.
local function deliver(job)
  if job.claims ~= '0' then
    redis.call('XCLAIM', job.stream, GROUP, HELD, 0, job.entry, 'JUSTID')
    return
  end
  while true do
    local reply = redis.call('XREADGROUP', 'GROUP', GROUP, HELD, 'COUNT', 1,
                             'STREAMS', job.stream, '>')
    local entry = reply[1][2][1][1]
    if entry == job.entry then return end
    redis.call('XACK', job.stream, GROUP, entry)
    redis.call('XDEL', job.stream, entry)
  end
end

local job = first_queued()
while job do
  if job.deadline_at and tonumber(job.deadline_at) <= now() then
    end_job(job, 'expired', 'its deadline passed while it was queued')
    job = first_queued()
  else
    deliver(job)
    leave_queue(job)
    redis.call('SADD', RUNNING .. job.model, job.id)
    redis.call('HSET', JOB .. job.id, 'status', 'running', 'worker', worker,
               'started_at', exact(now()))
    redis.call('HINCRBY', JOB .. job.id, 'attempts', 1)
    redis.call('HINCRBY', JOB .. job.id, 'claims', 1)
    emit(job.id, 'started', {attempt = tonumber(job.attempts) + 1})
    return redis.call('HGETALL', JOB .. job.id)
  end
end
return nil
