-- running -> running: one image more, instead of its preview; storing it again changes nothing.
local id, claim, index, png = unpack(ARGV)
if not held_job(id, claim) then return 0 end
if redis.call('HSETNX', IMAGES .. id, index, png) == 1 then
  local done = redis.call('HLEN', IMAGES .. id)
  redis.call('HSET', JOB .. id, 'images_done', done)
  redis.call('HDEL', PREVIEWS .. id, index, index .. ':calls')
  emit(id, 'image', {index = tonumber(index), images_done = done})
end
return 1
