package disk

import "errors"

// errShort makes WriteAt write half.
var errShort = errors.New("short write")

// FailAt is a hook for [Forgetful.Before] that fails the call number n, and no
// other, with err: syscall.EIO, ENOSPC or EROFS, say.
func FailAt(n int64, err error) func(Call) error {
	return func(c Call) error {
		if c.N == n {
			return err
		}
		return nil
	}
}

// ShortAt is a hook for [Forgetful.Before]: if the call number n is a write, it
// writes half of its bytes and returns io.ErrShortWrite.
func ShortAt(n int64) func(Call) error {
	return func(c Call) error {
		if c.N == n && c.Op == "write" {
			return errShort
		}
		return nil
	}
}

// StopAt is a hook for [Forgetful.Before] that refuses the call number n and
// all after it with [ErrCut]. A program that is stopped so cannot tidy up, as
// one that was killed cannot; follow with a Cut.
func StopAt(n int64) func(Call) error {
	return func(c Call) error {
		if c.N >= n {
			return ErrCut
		}
		return nil
	}
}
