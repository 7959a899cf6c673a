package wasmhost

// count adds bytes that a service moved without the guest.
func (c *call) count(n int64) { c.served += n }
