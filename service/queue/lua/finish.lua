-- running -> succeeded. Replies 1, 0 when the lease is lost, or -1 when images are missing.
local id, claim = unpack(ARGV)
local job = held_job(id, claim)
if not job then return ended_by(id, claim, 'succeeded') and 1 or 0 end
if redis.call('HLEN', IMAGES .. id) ~= tonumber(job.n) then return -1 end
end_job(job, 'succeeded')
return 1
