-- One consistent look at a model: queued per priority (high to low), running, queued
-- sample-steps, how long the oldest queued job has waited, and sample-steps left of running jobs.
local model = ARGV[1]
local reply, oldest = {}, nil
for rank = 0, 2 do
  local low = exact(rank * PRIORITY_SPAN)
  local high = '(' .. exact((rank + 1) * PRIORITY_SPAN)
  reply[rank + 1] = redis.call('ZCOUNT', QUEUED .. model, low, high)
  local head = redis.call('ZRANGEBYSCORE', QUEUED .. model, low, high, 'LIMIT', 0, 1)
  if head[1] then
    local created = tonumber(redis.call('HGET', JOB .. head[1], 'created_at'))
    oldest = math.min(oldest or created, created)
  end
end
reply[4] = redis.call('SCARD', RUNNING .. model)
reply[5] = redis.call('HGET', STEPS, model) or '0'
reply[6] = oldest and exact(now() - oldest) or '0'
local left = 0
for _, id in ipairs(redis.call('SMEMBERS', RUNNING .. model)) do
  local cost, done, request = unpack(redis.call('HMGET', JOB .. id, 'cost', 'calls_done', 'request'))
  if cost then
    local asked = cjson.decode(request)
    left = left + cost * (1 - (tonumber(done) or 0) / (asked.n * asked.steps))
  end
end
reply[7] = exact(left)
return reply
