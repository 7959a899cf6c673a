// A back end with the vendor's service SDK: methods and twins. The SDK speaks to
// port 443 of the hub; a hub that is simulated is at another port of this machine.
'use strict';
const https = require('https');
const { Client, Registry } = require('azure-iothub');

const connect = https.Agent.prototype.createConnection;
https.Agent.prototype.createConnection = function (options, done) {
  return connect.call(this, { ...options, port: Number(process.env.FACE_PORT) }, done);
};

const client = Client.fromConnectionString(process.env.CONNECTION);
const registry = Registry.fromConnectionString(process.env.CONNECTION);

async function outcome(of, promise) {
  try {
    const { result } = await promise;
    console.log(of + ' ' + JSON.stringify(result));
  } catch (err) {
    console.log(of + ' ' + err.name + ': ' + err.message);
  }
}

async function main() {
  const twin = (await registry.getTwin('gw-1')).responseBody;
  console.log('reported ' + JSON.stringify({ serial: twin.properties.reported.serial, nested: twin.properties.reported.nested }));
  console.log('state ' + twin.connectionState);
  await twin.update({ tags: { site: 'lab' }, properties: { desired: { interval: 30 } } });
  console.log('updated ' + JSON.stringify({ tags: twin.tags, desired: twin.properties.desired.interval }));
  await outcome('stale etag', registry.updateTwin('gw-1', { tags: { site: 'no' } }, '"AAAAAAAAAAk="'));
  await outcome('method', client.invokeDeviceMethod('gw-1', { methodName: 'fail', payload: { a: 1 }, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 5 }));
  await outcome('no device', client.invokeDeviceMethod('gw-9', { methodName: 'fail' }));
  await outcome('offline', client.invokeDeviceMethod('gw-2', { methodName: 'fail' }));
  await outcome('no twin', registry.getTwin('gw-9').then(() => ({ result: 'found' })));
}

main().catch((err) => { console.log('failed: ' + err.name + ': ' + err.message); process.exit(1); });
