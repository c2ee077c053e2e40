-- The rates of the live workers, as they announced them.
local rates = {}
for _, worker in ipairs(live_workers()) do
  rates[#rates + 1] = redis.call('HGET', WORKER .. worker, 'rates')
end
return rates
