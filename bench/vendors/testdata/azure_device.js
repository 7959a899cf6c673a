// A device with the vendor's SDK: its twin, a direct method, telemetry, and the
// firmware update of the vendor's Node sample, with the download.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const { CONNECTION, CA, CERT, KEY } = process.env;
const client = Client.fromConnectionString(CONNECTION, Mqtt);

const reports = (twin, patch) => new Promise((done, fail) => twin.properties.reported.update(patch, (err) => err ? fail(err) : done()));

async function update(twin, uri) {
  const stage = (status, more) => reports(twin, { iothubDM: { firmwareUpdate: { status, ...more } } });
  await stage('downloading', { startedDownloadingTime: new Date().toISOString() });
  const hash = crypto.createHash('sha256');
  await new Promise((done, fail) => http.get(uri, (from) => {
    if (from.statusCode !== 200) return fail(new Error('status ' + from.statusCode));
    from.on('data', (d) => hash.update(d)).on('end', done).on('error', fail);
  }).on('error', fail));
  console.log('downloaded ' + hash.digest('hex'));
  await stage('downloadComplete', { downloadCompleteTime: new Date().toISOString() });
  await stage('applying', { startedApplyingImage: new Date().toISOString() });
  await stage('applyComplete', { lastFirmwareUpdate: new Date().toISOString() });
  console.log('applied');
}

async function main() {
  const read = (file) => file && fs.readFileSync(file, 'utf8');
  await client.setOptions({ ca: read(CA), cert: read(CERT), key: read(KEY) });
  client.on('error', (err) => console.log('client error ' + err.message));
  await client.open();
  console.log('open');
  const twin = await client.getTwin();
  console.log('desired version ' + twin.properties.desired.$version);
  twin.on('properties.desired', (patch) => console.log('desired ' + JSON.stringify(patch)));
  client.onDeviceMethod('firmwareUpdate', (request, response) => {
    console.log('method ' + JSON.stringify(request.payload));
    response.send(200, { status: 'accepted' }, (err) => console.log(err ? 'method answer ' + err : 'method answered'));
    update(twin, request.payload.fwPackageUri).catch((err) => console.log('update failed: ' + err.message));
  });
  client.onDeviceMethod('fail', (request, response) => response.send(500, { why: 'asked to' }, () => {}));
  client.on('message', (m) => client.complete(m, () => {}));
  await reports(twin, { serial: 'A-17', nested: { gone: 1, stays: 2 } });
  await reports(twin, { nested: { gone: null } });
  const telemetry = new Message(JSON.stringify({ temperature: 21.5 }));
  telemetry.properties.add('unit', 'C');
  await client.sendEvent(telemetry);
  console.log('ready');
  process.stdin.on('end', async () => {
    await client.close();
    console.log('closed');
    process.exit(0);
  }).resume();
}

main().catch((err) => { console.log('failed: ' + err.name + ': ' + err.message); process.exit(1); });
