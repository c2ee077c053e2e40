-- running -> running: what its caller should know about the request, a JSON list of sentences.
local id, claim, warnings = unpack(ARGV)
if not held_job(id, claim) then return 0 end
redis.call('HSET', JOB .. id, 'warnings', warnings)
return 1
