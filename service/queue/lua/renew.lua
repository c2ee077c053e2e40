-- Pairs of id and claim: renews the leases still held, replies the ids of the others.
local lost = {}
for i = 1, #ARGV, 2 do
  local job = held_job(ARGV[i], ARGV[i + 1])
  if job then
    redis.call('XCLAIM', job.stream, GROUP, HELD, 0, job.entry, 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
