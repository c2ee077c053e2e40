-- running -> queued, as if it had not been tried: the worker leaves, the job is not to blame.
local id, claim = unpack(ARGV)
local job = held_job(id, claim)
if not job then return 0 end
give_back(job, tonumber(job.attempts) - 1, 'its worker is shutting down')
return 1
