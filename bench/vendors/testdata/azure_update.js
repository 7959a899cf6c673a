// A device with the vendor's SDK that is a Plug and Play device with the component
// deviceUpdate: it reports what it is, takes a deployment, and says how it went.
'use strict';
const fs = require('fs');
const http = require('http');
const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const client = Client.fromConnectionString(process.env.CONNECTION, Mqtt);
const installed = (version) => JSON.stringify({ provider: 'updraft', name: 'device', version });
let report; // of the component's members

const fetched = (url) => new Promise((done, fail) => {
  let size = 0;
  http.get(url, (from) => from.on('data', (d) => { size += d.length; }).on('end', () => done(size))).on('error', fail);
});

async function deploy(service, version) {
  const { workflow } = service;
  await report({ service: { ac: 200, av: version, ad: '', value: { ...service, updateManifestSignature: null, fileUrls: null, __t: undefined } } });
  if (workflow.action !== 3) return;
  const { updateId, files } = JSON.parse(service.updateManifest);
  console.log(`deployment of ${updateId.provider} ${updateId.name} ${updateId.version}, ${Object.keys(files).length} file`);
  await report({ agent: { state: 6, workflow } });
  for (const [id, { sizeInBytes }] of Object.entries(files)) {
    const size = await fetched(service.fileUrls[id]);
    if (size !== sizeInBytes) throw new Error(`${size} bytes of ${sizeInBytes}`);
  }
  await report({ agent: { state: 0, workflow, installedUpdateId: installed(updateId.version), lastInstallResult: { resultCode: 700, extendedResultCodes: '00000000', resultDetails: '' } } });
  console.log('reported');
}

async function main() {
  await client.setOptions({ ca: fs.readFileSync(process.env.CA, 'utf8'), modelId: 'dtmi:azure:iot:deviceUpdateModel;3' });
  await client.open();
  const twin = await client.getTwin();
  report = (members) => new Promise((done, fail) => twin.properties.reported.update({ deviceUpdate: { __t: 'c', ...members } }, (err) => err ? fail(err) : done()));
  await report({ agent: { deviceProperties: { manufacturer: 'contoso', model: 'gw-200', contractModelId: 'dtmi:azure:iot:deviceUpdateContractModel;3', aduVer: 'DU;agent/1.1.0' },
    compatPropertyNames: 'manufacturer,model', state: 0, installedUpdateId: installed('1.0') } });
  twin.on('properties.desired.deviceUpdate.service', (service) => deploy(service, twin.properties.desired.$version).catch((err) => console.log('failed: ' + err.message)));
  console.log('ready');
  process.stdin.on('end', async () => {
    await client.close();
    console.log('closed');
    process.exit(0);
  }).resume();
}

main().catch((err) => { console.log('failed: ' + err.message); process.exit(1); });
