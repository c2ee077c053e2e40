-- Shared by every transition. KEYS[1] only routes a script to the slot of the tag; the names in
-- capitals come from keys.py. A job's entry stays in its stream from the queue to the end, so
-- the group's pending entries are exactly the jobs that run or ran: consumer HELD or RETURNED.

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- Lua prints 14 digits, too few for a time or a place in the queue.
local function exact(number)
  return string.format('%.6f', number)
end

-- The fields that transitions decide by; nil when there is no such job.
local function read_job(id)
  local names = {'status', 'model', 'priority', 'cost', 'claims', 'attempts', 'entry', 'place',
                 'keep_job_ms', 'keep_images_ms', 'idempotency', 'deadline_at', 'n'}
  local values = redis.call('HMGET', JOB .. id, unpack(names))
  if not values[1] then return nil end
  local job = {id = id}
  for i, name in ipairs(names) do job[name] = values[i] end
  job.stream = STREAM .. job.model .. ':' .. job.priority
  return job
end

-- The job if this claim of it is still the one that runs it; nil otherwise.
local function held_job(id, claim)
  local job = read_job(id)
  if job and job.status == 'running' and job.claims == claim then return job end
  return nil
end

-- True when this very claim ended the job so: a repeated command gets the same answer.
local function ended_by(id, claim, status)
  local job = read_job(id)
  return job and job.status == status and job.claims == claim
end

local function emit(id, kind, fields)
  fields = fields or {}
  fields.type = kind
  fields.at = now()
  redis.call('XADD', EVENTS .. id, 'MAXLEN', EVENTS_KEPT, '*', 'data', cjson.encode(fields))
end

local function join_queue(job)
  redis.call('ZADD', QUEUED .. job.model, job.place, job.id)
  redis.call('HINCRBY', STEPS, job.model, job.cost)
  redis.call('PUBLISH', WORK, job.model)
end

local function leave_queue(job)
  redis.call('ZREM', QUEUED .. job.model, job.id)
  redis.call('HINCRBY', STEPS, job.model, -job.cost)
end

-- From running back to queued, at the place it had.
local function give_back(job, attempts, reason)
  redis.call('XCLAIM', job.stream, GROUP, RETURNED, 0, job.entry, 'JUSTID')
  redis.call('SREM', RUNNING .. job.model, job.id)
  redis.call('HSET', JOB .. job.id, 'status', 'queued', 'attempts', attempts, 'calls_done', 0)
  redis.call('HDEL', JOB .. job.id, 'worker', 'started_at')
  redis.call('DEL', PREVIEWS .. job.id)
  emit(job.id, 'requeued', {reason = reason})
  join_queue(job)
end

-- The only way to a terminal state; the caller has seen that the job is not in one.
local function end_job(job, status, reason)
  redis.call('XACK', job.stream, GROUP, job.entry)
  redis.call('XDEL', job.stream, job.entry)
  redis.call('ZREM', DEADLINES, job.id)
  if job.status == 'queued' then
    leave_queue(job)
  else
    redis.call('SREM', RUNNING .. job.model, job.id)
  end
  redis.call('HSET', JOB .. job.id, 'status', status, 'finished_at', exact(now()))
  if reason then redis.call('HSET', JOB .. job.id, 'error', reason) end
  emit(job.id, status, {error = reason})
  redis.call('DEL', PREVIEWS .. job.id)
  redis.call('PEXPIRE', JOB .. job.id, job.keep_job_ms)
  redis.call('PEXPIRE', EVENTS .. job.id, job.keep_job_ms)
  redis.call('PEXPIRE', IMAGES .. job.id, job.keep_images_ms)
  if job.idempotency then redis.call('PEXPIRE', job.idempotency, job.keep_job_ms) end
  if job.status == 'running' then redis.call('PUBLISH', STOPPED, job.id) end
  redis.call('PUBLISH', ENDED, job.id)
end

local function give_up(job, reason)
  end_job(job, 'failed', reason)
  redis.call('XADD', DEAD_LETTERS, 'MAXLEN', DEAD_LETTERS_KEPT, '*', 'job', job.id,
             'model', job.model, 'attempts', job.attempts, 'reason', reason)
end

-- True when the job may run again; false when it was given up on.
local function try_again(job, max_attempts, reason)
  if tonumber(job.attempts) < tonumber(max_attempts) then
    give_back(job, job.attempts, reason)
    return true
  end
  give_up(job, string.format('%s (attempt %s of %s)', reason, job.attempts, max_attempts))
  return false
end

-- Ids of the workers whose announcement holds, sorted.
local function live_workers()
  local alive = {}
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', WORKERS, '(' .. exact(now()), '+inf')) do
    if redis.call('EXISTS', WORKER .. worker) == 1 then alive[#alive + 1] = worker end
  end
  table.sort(alive)
  return alive
end
