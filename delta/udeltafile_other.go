//go:build !unix

package delta

import "io"

// mapped is for systems that can map files.
func mapped(*io.SectionReader) (b []byte, free func(), ok bool) { return nil, nil, false }
