-- A worker is alive for ttl_ms more. Cards are written only when their digest is new.
local worker, ttl_ms, digest, cards, rates = unpack(ARGV, 1, 5)
local time = now()
redis.call('ZREMRANGEBYSCORE', WORKERS, '-inf', exact(time))
redis.call('ZADD', WORKERS, exact(time + tonumber(ttl_ms) / 1000), worker)
if redis.call('HGET', WORKER .. worker, 'digest') ~= digest then
  redis.call('HSET', WORKER .. worker, 'digest', digest, 'cards', cards)
  for i = 6, #ARGV do redis.call('SADD', MODELS, ARGV[i]) end
end
redis.call('HSET', WORKER .. worker, 'rates', rates)
redis.call('PEXPIRE', WORKER .. worker, ttl_ms)
return 1
