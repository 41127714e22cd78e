-- wrk script: posts every file of a folder in turn, and counts the answers by status.
-- After `--`: the folder, then headers as `Name: value`; without any, the files are sent as image/jpeg.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  bodies, headers, counts, turn = {}, {}, {}, number * 37
  for position = 2, #args do
    local name, value = args[position]:match("^([^:]+):%s*(.*)$")
    headers[assert(name, "no header: " .. args[position])] = value
  end
  if #args < 2 then
    headers["Content-Type"] = "image/jpeg"
  end
  local listing = io.popen("ls '" .. args[1] .. "'/*")
  for path in listing:lines() do
    local file = assert(io.open(path, "rb"))
    bodies[#bodies + 1] = file:read("*a")
    file:close()
  end
  listing:close()
  assert(#bodies > 0, "no photographs in " .. args[1])
end

function request()
  turn = turn + 1
  return wrk.format("POST", nil, headers, bodies[turn % #bodies + 1])
end

function response(status)
  counts[status] = (counts[status] or 0) + 1
end

function done(summary, latency)
  local total = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counts")) do
      total[status] = (total[status] or 0) + count
    end
  end
  for status, count in pairs(total) do
    io.write(string.format("status %d %d\n", status, count))
  end
  local errors = summary.errors
  io.write(string.format("lost connect=%d read=%d write=%d timeout=%d\n",
    errors.connect, errors.read, errors.write, errors.timeout))
  io.write(string.format("latency_ms p50=%.3f p99=%.3f\n", latency:percentile(50) / 1000, latency:percentile(99) / 1000))
  io.write(string.format("duration_s %.3f\n", summary.duration / 1e6))
end
