// Package vendors runs software that vendors publish, as it is, against the
// simulators: device and service SDKs, and update clients. README.md says what
// to install. Nothing of it is kept here; the scripts in testdata call it as the
// vendors' samples do.
//
// It is tests only. Those whose software is not there are skipped.
package vendors
