// A back end with the vendor's service SDK that asks a device for an update by the
// method of the vendor's sample, and watches the twin for how it goes.
'use strict';
const https = require('https');
const { Client, Registry } = require('azure-iothub');

const connect = https.Agent.prototype.createConnection;
https.Agent.prototype.createConnection = function (options, done) {
  return connect.call(this, { ...options, port: Number(process.env.FACE_PORT) }, done);
};

const client = Client.fromConnectionString(process.env.CONNECTION);
const registry = Registry.fromConnectionString(process.env.CONNECTION);

async function main() {
  const call = { methodName: 'firmwareUpdate', payload: { fwPackageUri: process.env.URI }, responseTimeoutInSeconds: 20, connectTimeoutInSeconds: 20 };
  const { result } = await client.invokeDeviceMethod('gw-1', call);
  console.log('answer ' + result.status);
  let last;
  for (const until = Date.now() + 30000; Date.now() < until;) {
    const { firmwareStatus } = (await registry.getTwin('gw-1')).responseBody.properties.reported;
    if (firmwareStatus !== last) console.log('status ' + firmwareStatus);
    last = firmwareStatus;
    if (last === 'completed' || last === 'failed') return;
    await new Promise((done) => setTimeout(done, 100)); // as the vendor's sample polls
  }
}

main().catch((err) => { console.log('failed: ' + err.name + ': ' + err.message); process.exit(1); });
