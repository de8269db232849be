-- zlib.*: whole strings in the zlib format and the gzip format. Bad, truncated and trailing data raise.

local bridge = ...

local error, check = error, bridge.check

local function conversion(name)
    local convert = bridge.native("zlib_" .. name)
    return function(data)
        data = check.string(data, 1, name)
        local ok, result = convert(data)
        if not ok then error(result, 2) end
        return result
    end
end

local zlib = {
    compress = conversion("compress"),
    uncompress = conversion("uncompress"),
    gzip = conversion("gzip"),
    gunzip = conversion("gunzip"),
}

_G.zlib = zlib
package.loaded.zlib = zlib

return zlib
