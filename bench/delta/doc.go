// Delta measures updraft's patches beside those of other programs.
//
// One command fetches pairs of real versions, makes and applies a patch of
// each pair with every program of [peers] that is installed, and prints the
// sizes, times and memory, and the ratios that updraft aims at:
//
//	go run ./bench/delta -corpus corpus
//	go run ./bench/delta -pairs elf-go-11m,src-go-tar -peers updraft-fast,hdiffz-zstd -n 5 -cold
//	go run ./bench/delta -hdiffz ~/hdiffz -hpatchz ~/hpatchz -zucchini ~/zucchini
//	go run ./bench/delta -interop
//	go run ./bench/delta -report
//
// Every figure is of a fresh process: wall time, CPU time of user and system,
// and peak resident memory, in which pages of mapped files count. Programs run
// one after the other, in turn: n rounds over all peers, not n runs of one.
// What was applied is compared with the SHA-256 of the new file. To apply takes
// a patch to a file that is checked and durable: behind programs that do not
// check their result runs sha256sum, behind those that do not sync it runs
// sync, and their time counts.
//
// The figures are merged into results.json, so that a long measurement can be
// done in parts; each keeps its date and machine. -report writes
// docs/benchmarks.md and its picture from that file alone. -interop lets
// updraft and other programs apply each other's patches.
//
// Peers that are not installed are named and left out. A command that takes
// more than -time or -memory is stopped, and the tables say so.
//
// Memory and processes are measured as Linux does it; -report runs anywhere.
package main
