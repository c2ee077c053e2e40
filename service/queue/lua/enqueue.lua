-- nothing -> queued. Replies {outcome, ...}: full, clash, or queued/known with the job's hash.
local id, model, priority, request, n, tenant, cost, deadline_s, limit, keep_job_ms,
      keep_images_ms, record, body = unpack(ARGV)

if record ~= '' then
  local held = redis.call('HMGET', record, 'job', 'body')
  if held[1] and held[2] ~= body then return {'clash', held[1]} end
  if held[1] then return {'known', redis.call('HGETALL', JOB .. held[1])} end
end
-- The client repeats a command whose reply was lost.
if redis.call('EXISTS', JOB .. id) == 1 then
  return {'known', redis.call('HGETALL', JOB .. id)}
end
local depth = redis.call('ZCARD', QUEUED .. model)
if depth >= tonumber(limit) then
  return {'full', depth, redis.call('HGET', STEPS, model)}
end

local stream = STREAM .. model .. ':' .. priority
if redis.call('SADD', STREAMS, stream) == 1 then
  redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
end
local created = now()
local place = exact(RANK[priority] * PRIORITY_SPAN + redis.call('INCR', SEQUENCE))
local entry = redis.call('XADD', stream, '*', 'job', id)
redis.call('HSET', JOB .. id, 'id', id, 'model', model, 'priority', priority,
           'request', request, 'n', n, 'tenant', tenant, 'cost', cost, 'status', 'queued',
           'created_at', exact(created), 'attempts', 0, 'claims', 0, 'entry', entry,
           'place', place, 'keep_job_ms', keep_job_ms, 'keep_images_ms', keep_images_ms)
if deadline_s ~= '' then
  local deadline = exact(created + tonumber(deadline_s))
  redis.call('HSET', JOB .. id, 'deadline_at', deadline)
  redis.call('ZADD', DEADLINES, deadline, id)
end
if record ~= '' then
  redis.call('HSET', record, 'job', id, 'body', body)
  redis.call('HSET', JOB .. id, 'idempotency', record)
end
emit(id, 'queued')
join_queue({id = id, model = model, place = place, cost = cost})
return {'queued', redis.call('HGETALL', JOB .. id)}
