-- queued | running -> cancelled; a terminal job stays as it is. Replies the job's hash.
local job = read_job(ARGV[1])
if not job then return nil end
if job.status == 'queued' or job.status == 'running' then end_job(job, 'cancelled') end
return redis.call('HGETALL', JOB .. job.id)
