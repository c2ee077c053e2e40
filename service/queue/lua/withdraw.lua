-- A worker leaves now instead of when its announcement ends.
redis.call('ZREM', WORKERS, ARGV[1])
redis.call('DEL', WORKER .. ARGV[1])
return 1
