-- What wrk sends in benches/publish/run: a message of 64 bytes.
wrk.method = "POST"
wrk.body = string.rep("x", 64)
