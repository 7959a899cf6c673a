package main

import (
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
	"github.com/updraft-ota/updraft/control/cloudsim/hawkbit"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	"github.com/updraft-ota/updraft/control/cloudsim/tencent"
)

// simPlane is a cloud that can be simulated.
type simPlane struct {
	name, short, about string
	// accounts says that devices have secrets that the cloud must know.
	accounts bool
	// host and product are the defaults of these words; "" if it has none.
	host, product string
	// certificate says that devices expect to be asked for one.
	certificate bool
	verbs       []cloudsim.Verb
	// set are the vendor's own members of orders that bring software, for
	// people, and stop those of a cancellation.
	set, stop string
	// polls says that devices ask, and have no connection to see.
	polls bool
	// cloud makes it.
	cloud func(cloudsim.Accounts, simFlags) (cloudsim.Cloud, error)
}

var (
	onlyPush  = []cloudsim.Verb{cloudsim.VerbPush}
	someVerbs = []cloudsim.Verb{cloudsim.VerbPush, cloudsim.VerbCancel, cloudsim.VerbRetry}
)

// simPlanes are all of them, by name.
func simPlanes() []simPlane {
	return []simPlane{
		{
			name: "adu", short: "Simulate Azure Device Update", accounts: true, host: "localhost", verbs: cloudsim.Verbs(),
			about: `An Azure IoT Hub with Device Update: an order becomes a deployment with a signed
update manifest in the twin of the device. It signs with keys of its own; "updraft
sim adu keys" prints the root keys that devices are to trust. The hub's service side is at
the address http, for callers on this machine.`,
			set: `Members: provider and name of the updateId, compatibility (an object), handler,
handlerProperties (an object), step=reference, detached=true.`,
			cloud: func(a cloudsim.Accounts, f simFlags) (cloudsim.Cloud, error) {
				signer, err := simSigner(f.state)
				if err != nil {
					return nil, err
				}
				return hub.New(hub.Config{Accounts: a, Update: true, Signer: signer, FaceURL: f.faceURL})
			},
		},
		{
			name: "aliyunota", short: "Simulate Alibaba Cloud IoT OTA", accounts: true, product: "PRODUCT001", verbs: cloudsim.Verbs(),
			about: `Alibaba's general OTA service for the devices of one product. Only a new version
that a device informs of makes an update a success.`,
			set: `Members: module, timeoutMinutes, needPush=false, signMethod (MD5 or SHA256),
digestsign, extData (an object), files (a list).`,
			cloud: func(a cloudsim.Accounts, _ simFlags) (cloudsim.Cloud, error) {
				return aliyun.NewOTA(aliyun.Config{Accounts: a})
			},
		},
		{
			name: "awsiot", short: "Simulate AWS IoT: shadows, jobs and streams", certificate: true, verbs: someVerbs,
			about: `A device connects with the name of its thing as the MQTT client id, and uses the
topics state/ID/… or $aws/things/ID/…; it sees its own alone. With --client-ca a
device must show a certificate whose common name is its id.`,
			set: `via says how: shadow (the default), named (with shadow=NAME) or jobs. In a
shadow each member is desired too, null deletes it, and version, sha256 and size are
desired if they are given; without --url the device is to try again what was
desired last. Members for jobs: document (an object), stream=true, file, loseEach.`,
			stop:  "The member force=false leaves a job that is in progress.",
			cloud: func(cloudsim.Accounts, simFlags) (cloudsim.Cloud, error) { return aws.New(aws.Config{}) },
		},
		{
			name: "azurehub", short: "Simulate Azure IoT Hub: direct methods and twins", accounts: true, host: "localhost", verbs: onlyPush,
			about: `An order is the firmware update of the vendor's samples. A method is called of
a device that is connected, or the order fails. The service side is at the address
http, for callers on this machine.`,
			set: `Members: shape (method, node or twin), check (sha256, md5 or none), methodName,
responseTimeoutInSeconds.`,
			cloud: func(a cloudsim.Accounts, _ simFlags) (cloudsim.Cloud, error) { return hub.New(hub.Config{Accounts: a}) },
		},
		{
			name: "haas", short: "Simulate Alibaba HaaS app upgrades", accounts: true, product: "PRODUCT001", verbs: onlyPush,
			about: `The app upgrade of Alibaba's HaaS cloud for the devices of one product.`,
			set: `Members: appId (16 digits that begin with 88001000; needed), rollingBack,
needRestart and needUpdateFirmware (0 or 1), errorCode.`,
			cloud: func(a cloudsim.Accounts, _ simFlags) (cloudsim.Cloud, error) {
				return aliyun.NewHaaS(aliyun.Config{Accounts: a})
			},
		},
		{
			name: "hawkbit", short: "Simulate an Eclipse hawkBit server", accounts: true, product: "DEFAULT", verbs: cloudsim.Verbs(),
			about: `Devices ask the address http below /DEFAULT/controller/v1/ID, with their key as
the target token. --product names another tenant than DEFAULT.`,
			set: `Members: type (forced, soft, timeforced, downloadonly), forcetime, window
(available, unavailable, or a duration until it opens), confirm=true, part, name,
metadata (an object).`,
			stop: "The member force=true ends an update whose cancellation the device does not answer.", polls: true,
			cloud: func(a cloudsim.Accounts, f simFlags) (cloudsim.Cloud, error) {
				return hawkbit.New(hawkbit.Config{Accounts: a, Poll: f.poll})
			},
		},
		{
			name: "tencent", short: "Simulate Tencent Cloud IoT OTA", accounts: true, product: "PRODUCT001", verbs: onlyPush,
			about: `The firmware upgrade of Tencent Cloud IoT Hub for the devices of one product. A
push needs a version. There is no cancel: another push takes the place of the first.`,
			set: "There are no members.",
			cloud: func(a cloudsim.Accounts, _ simFlags) (cloudsim.Cloud, error) {
				return tencent.New(tencent.Config{Accounts: a})
			},
		},
	}
}
