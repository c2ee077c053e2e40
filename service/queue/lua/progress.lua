-- running -> running: network calls done so far, over all images of the job.
local id, claim, calls_done = unpack(ARGV)
if not held_job(id, claim) then return 0 end
redis.call('HSET', JOB .. id, 'calls_done', calls_done)
emit(id, 'step', {calls_done = tonumber(calls_done)})
return 1
