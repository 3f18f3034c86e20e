-- Asks `dance auth-service` whether a request may pass (HAProxy 2.5 and later).
--
-- http-request lua.dance URL
--
-- If it may, the variable txn.dane_clientid holds the client's name. If not, the client gets the status of the service.
-- If the service does not answer, the client gets 503.

-- What the service reads: no other field of the request leaves HAProxy for it.
local FIELDS = { "dane-clientid-asserted", "x-client-cert", "x-client-cert-chain" }

local function values(headers, name)
    local found = {}
    local there = headers[name]
    if there then
        -- The first has the index 0.
        for index = 0, #there do
            found[#found + 1] = there[index]
        end
    end
    return found
end

local function refuse(txn, status, challenge)
    local reply = txn:reply({ status = status })
    reply:add_header("cache-control", "no-store")
    if challenge then
        reply:add_header("www-authenticate", challenge)
    end
    txn:done(reply)
end

core.register_action("dance", { "http-req" }, function(txn, url)
    local inbound = txn.http:req_get_headers()
    local headers = { ["x-client-address"] = { txn.sf:src() } }
    for _, name in ipairs(FIELDS) do
        local found = values(inbound, name)
        if #found > 0 then
            headers[name] = found
        end
    end

    local answer = core.httpclient():get({ url = url, headers = headers, timeout = 10000 })
    local status = answer and answer.status or 503
    local names = answer and answer.headers and values(answer.headers, "dane-clientid") or {}
    if status == 200 and #names == 1 and #names[1] > 0 then
        txn:set_var("txn.dane_clientid", names[1])
    elseif status >= 400 and status <= 499 then
        refuse(txn, status, values(answer.headers, "www-authenticate")[1])
    else
        refuse(txn, 503)
    end
end, 1)
