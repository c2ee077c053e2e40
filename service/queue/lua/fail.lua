-- running -> failed, for good.
local id, claim, reason = unpack(ARGV)
local job = held_job(id, claim)
if not job then return ended_by(id, claim, 'failed') and 1 or 0 end
give_up(job, reason)
return 1
