//go:build !unix

package delta

import "io"

// mapped is for systems that can map files.
func mapped(*io.SectionReader) (b []byte, free, forget func(), ok bool) { return nil, nil, nil, false }

func scratch(n int) (b []byte, free func()) { return make([]byte, n), func() {} }
