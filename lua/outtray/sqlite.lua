-- sqlite.lua - which copy of SQLite a module in C uses: that of the driver.
--
-- Two copies that open one file in one process lose data without an error, because
-- locks of POSIX belong to the process. So the module has none of its own: it is
-- shown that of the driver which is loaded, else of one that is installed, else
-- the system's; and a scratch database proves that their locks see each other.
local unpack = table.unpack or unpack

local sqlite = {}

-- Each takes BEGIN IMMEDIATE on a file and returns what ends it.
local DRIVERS = {
    {"lsqlite3complete", function(driver, path)
        local db = driver.open(path)
        db:exec("BEGIN IMMEDIATE")
        return function() db:close() end
    end},
    {"lsqlite3", function(driver, path)
        local db = driver.open(path)
        db:exec("BEGIN IMMEDIATE")
        return function() db:close() end
    end},
    {"luasql.sqlite3", function(driver, path)
        local environment = driver.sqlite3()
        local conn = environment:connect(path)
        conn:execute("BEGIN IMMEDIATE")
        return function()
            conn:close()
            environment:close()
        end
    end},
    {"dbd.sqlite3", function(driver, path)
        local conn = driver.New(path)
        conn:autocommit(true)
        local statement = conn:prepare("BEGIN IMMEDIATE")
        statement:execute()
        statement:close()
        return function() conn:close() end
    end},
}

-- The file of a module in C, as require would find it.
local function file_of(name)
    name = name:gsub("%.", "/")
    for template in package.cpath:gmatch("[^;]+") do
        local path = template:gsub("%?", name)
        local file = io.open(path)
        if file then
            file:close()
            return path
        end
    end
end

local function driver_here()
    for _, loaded_only in ipairs {true, false} do
        for _, driver in ipairs(DRIVERS) do
            local name = driver[1]
            local path = (package.loaded[name] or not loaded_only)
                and file_of(name)
            local fine, module = pcall(require, path and name or "")
            if path and fine then
                return path, module, driver[2]
            end
        end
    end
end

local function show(module)
    local path, driver, begin = driver_here()
    if not path then
        -- Lua 5.1 loads no library but for a function of it, which is not called.
        for _, name in ipairs {"libsqlite3.so.0", "libsqlite3.so"} do
            if package.loadlib(name, "sqlite3_libversion") then
                return module.sqlite_use_loaded(name)
            end
        end
        return nil, "there is no SQLite in this process: install a driver, such "
            .. "as LuaSQL for SQLite", "UNSUPPORTED"
    end
    local done, message, code = module.sqlite_use_loaded(path)
    if not done then
        return nil, message, code
    end
    local scratch = os.tmpname()
    local finish = begin(driver, scratch)
    done, message, code = module.sqlite_lock_test(scratch)
    finish()
    os.remove(scratch)
    os.remove(scratch .. "-journal")
    if not done then
        return nil, message, code
    end
    return true
end

local answers = {}

-- Show a module the copy, once in a process (outtray.core and outtray.build each
-- have a choice of their own). true, or nil, a message and a name.
function sqlite.choose(module)
    answers[module] = answers[module] or {show(module)}
    return unpack(answers[module], 1, 3)
end

return sqlite
