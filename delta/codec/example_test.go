package codec_test

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/codec"
)

func Example() {
	const text = "the quick brown fox, the quick brown dog\n"
	c, err := codec.Lookup("gzip")
	if err != nil {
		fmt.Println(err)
		return
	}
	var file bytes.Buffer
	w, err := codec.NewWriter(&file, c, codec.Options{Size: int64(len(text))})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(w, text)
	if err := w.Close(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(codec.Detect(file.Bytes()[:codec.DetectLength]))
	r, err := c.NewReader(context.Background(), &file, codec.Limits{Size: int64(len(text))})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	fmt.Printf("%s%v\n", got, err)
	// Output:
	// gzip
	// the quick brown fox, the quick brown dog
	// <nil>
}
