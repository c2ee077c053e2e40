-- running -> running: what an image looks like by now; refused once the image itself is stored.
local id, claim, index, calls_done, png = unpack(ARGV)
local job = held_job(id, claim)
if not job or redis.call('HEXISTS', IMAGES .. id, index) == 1 then return 0 end
redis.call('HSET', PREVIEWS .. id, index, png, index .. ':calls', calls_done)
redis.call('PEXPIRE', PREVIEWS .. id, job.keep_images_ms)
emit(id, 'preview', {index = tonumber(index), calls_done = tonumber(calls_done)})
return 1
