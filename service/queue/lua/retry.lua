-- running -> queued, or failed when its attempts are used up.
local id, claim, reason, max_attempts = unpack(ARGV)
local job = held_job(id, claim)
if not job then return ended_by(id, claim, 'failed') and 1 or 0 end
try_again(job, max_attempts, reason)
return 1
