-- wrk script: posts every *.jpg of the folder given after `--`, in turn. With a second argument each has a comment of its
-- own, which holds that argument, so that no two bodies are ever equal.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  images, ok, turn, run = {}, 0, 0, args[2]
  local listing = io.popen("ls '" .. args[1] .. "'/*.jpg")
  for path in listing:lines() do
    local file = assert(io.open(path, "rb"))
    images[#images + 1] = file:read("*a")
    file:close()
  end
  listing:close()
  assert(#images > 0, "no photographs in " .. args[1])
end

function request()
  turn = turn + 1
  local body = images[turn % #images + 1]
  if run then
    -- A comment segment: its marker, its length in two bytes, its text. It may follow a JPEG's first marker.
    local text = string.format("%s-%d-%d", run, number, turn)
    body = body:sub(1, 2) .. "\255\254\0" .. string.char(#text + 2) .. text .. body:sub(3)
  end
  return wrk.format("POST", nil, { ["Content-Type"] = "image/jpeg" }, body)
end

function response(status)
  if status == 200 then ok = ok + 1 end
end

function done(summary, latency)
  local answered = 0
  for _, thread in ipairs(threads) do answered = answered + thread:get("ok") end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("answered %d failed %d\n", answered, summary.requests - answered + lost))
  io.write(string.format("duration_s %.3f p50_ms %.3f\n", summary.duration / 1e6, latency:percentile(50) / 1000))
end
