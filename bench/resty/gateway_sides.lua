-- gateway_sides.lua - what the benchmark gateway compares: a request is an event of
-- 200 bytes, which begins with what the client calls it.
local producers = require "nginx.kafka.producer"
local gateways = require "resty.outtray.gateway"

local sides = {}

local gateway, brokers, topic
local FILLING = (" 0123456789abcdef"):rep(12)

function sides.start(store, list, name)
    gateway = gateways.new {store = store}
    brokers, topic = list, name
end

local function event()
    local n = ngx.var.arg_n or "0"
    return n, (n .. FILLING):sub(1, 200)
end

local function answer(done, why)
    ngx.status = done and 201 or 503
    ngx.say(done and "created" or why)
end

function sides.empty()
    event()
    answer(true)
end

function sides.gateway()
    local key, payload = event()
    answer(gateway:enqueue {topic = topic, key = key, payload = payload})
end

-- As its README shows it; the acknowledgement that is asked for is its strongest.
local function send(config)
    local key, payload = event()
    local producer = producers:new(brokers, config)
    answer(producer:send(topic, key, payload))
end

function sides.sync()
    send {producer_type = "sync", required_acks = -1}
end

function sides.async()
    send {producer_type = "async", required_acks = -1}
end

return sides
