-- databases.lua - connections of every driver to the two outboxes of a spec. Each
-- has exec(sql), which fails on an error, and is made anew by connect().
local databases = {}

local url = assert(os.getenv("OUTTRAY_SPEC_PG"))
databases.pg_url = url
databases.sqlite_path = assert(os.getenv("OUTTRAY_SPEC_SQLITE"))
local user, host, port, name =
    url:match("^postgresql://(%w+)@([%w.]+):(%d+)/([%w_]+)$")

local folder = os.getenv("OUTTRAY_TEST_PGMOON")
if folder then
    package.path = folder .. "/?.lua;" .. folder .. "/?/init.lua;" .. package.path
end
databases.pgmoon = require(folder and "pgmoon" or "pgclient")

function databases.pg_config(extra)
    local config = {host = host, port = port, user = user, database = name}
    for key, value in pairs(extra or {}) do
        config[key] = value
    end
    return config
end

local function luasql(driver, source)
    return {
        connect = function()
            local environment = require("luasql." .. driver)[driver]()
            local conn = assert(environment:connect(source))
            -- Its transactions are begun by hand; so BEGIN is what it says.
            return conn, function(sql) assert(conn:execute(sql)) end
        end,
    }
end

local function luadbi(...)
    local arguments = {...}
    return {
        connect = function()
            local unpack = table.unpack or unpack
            local conn = assert(require("DBI").Connect(unpack(arguments)))
            conn:autocommit(true)
            return conn, function(sql)
                local statement = assert(conn:prepare(sql))
                assert(statement:execute())
                statement:close()
            end
        end,
    }
end

-- {driver: how to connect, with a dialect}
databases.drivers = {
    ["luasql.postgres"] = luasql("postgres", url),
    ["luasql.sqlite3"] = luasql("sqlite3", databases.sqlite_path),
    ["luadbi PostgreSQL"] = luadbi("PostgreSQL", name, user, "", host, port),
    ["luadbi SQLite3"] = luadbi("SQLite3", databases.sqlite_path),
    pgmoon = {
        connect = function()
            local conn = databases.pgmoon.new(databases.pg_config())
            assert(conn:connect())
            return conn, function(sql) assert(conn:query(sql)) end
        end,
    },
}
for driver, database in pairs(databases.drivers) do
    database.sqlite = driver:lower():find("sqlite") ~= nil
end
if pcall(require, "lsqlite3") then
    databases.drivers.lsqlite3 = {
        sqlite = true,
        connect = function()
            local db = require("lsqlite3").open(databases.sqlite_path)
            return db, function(sql)
                assert(db:exec(sql) == 0, db:errmsg())
            end
        end,
    }
end

-- --- what is in the outboxes, seen by a connection of its own -----------------

local seen = {}

local function look(sqlite)
    local driver = sqlite and "luasql.sqlite3" or "luasql.postgres"
    seen[driver] = seen[driver] or databases.drivers[driver].connect()
    return seen[driver]
end

-- Rows of what was committed, by columns (an expression each).
function databases.events(sqlite, columns)
    local table_name = sqlite and "outtray_event" or "outtray.event"
    local cursor = assert(look(sqlite):execute(
        "SELECT " .. columns .. " FROM " .. table_name .. " ORDER BY seq"))
    local rows = {}
    local row = cursor:fetch({}, "n")
    while row do
        rows[#rows + 1] = row
        row = cursor:fetch({}, "n")
    end
    cursor:close()
    return rows
end

function databases.count(sqlite)
    return #databases.events(sqlite, "seq")
end

function databases.empty()
    assert(look(false):execute("TRUNCATE outtray.event"))
    assert(look(true):execute("DELETE FROM outtray_event"))
end

-- Columns with everything of an event, the payload as digits.
function databases.columns(sqlite)
    local payload = sqlite and "hex(payload)" or "upper(encode(payload, 'hex'))"
    local moment = sqlite and "deliver_at"
        or "(extract(epoch FROM deliver_at) * 1000000)::bigint"
    return "id, topic, key, type, headers, " .. payload .. ", " .. moment
end

return databases
