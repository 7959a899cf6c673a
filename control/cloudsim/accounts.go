package cloudsim

// Accounts are what a vendor's cloud knows of its devices before they come.
type Accounts struct {
	// Host is the name that the cloud has in tokens, such as hub.example.
	Host string
	// Product is the vendor's product id or key, for those that have one.
	Product string
	// Devices are the secrets by device name, in the vendor's form; "" for a
	// device that shows a certificate.
	Devices map[string]string
}
