// Wasm measures modules in updraft beside plain wazero, Extism and native code.
//
// One command builds its guests and the example modules, lets both sides of
// each comparison take turns in one run, and prints each aim with its figure,
// as reached or missed:
//
//	go run ./bench/wasm
//	go run ./bench/wasm -quick -only metering,cancel
//	go run ./bench/wasm -json
//	go run ./bench/wasm -report
//
// It runs in the project's folder, which has the sources of the guests. Figures
// are medians over -n rounds, after one that does not count; in each round
// every side runs once. Every run is a fresh instance, and making it counts.
// Files are kept in memory where the machine has a folder for that, so that no
// disk hides what the host itself costs; -dir names another folder.
//
// -report writes docs/module-figures.md besides. A compiler that is not
// installed, and Extism where it cannot be had, are named and left out.
package main
