// A device with the vendor's SDK that takes app upgrades as a service of its thing
// model, and tells of them by events.
'use strict';
const crypto = require('crypto');
const http = require('http');
const { device } = require(process.env.SDK);

const { BROKER, PRODUCT, SECRET } = process.env;
const d = device({ ProductKey: PRODUCT, DeviceName: 'gw-1', DeviceSecret: SECRET, brokerUrl: BROKER });
const appId = '8800100099990000';

d.on('error', (err) => console.log('client error ' + err));
d.on('connect', () => {
  console.log('connected');
  d.onService('hli_service_upgrade_push', (call, reply) => {
    const [app] = call.params.app;
    console.log('call for ' + app.appId + ' ' + app.version);
    reply({ id: call.id, code: 200, data: {} });
    const hash = crypto.createHash('md5');
    http.get(app.url, (from) => from.on('data', (c) => hash.update(c)).on('end', () => {
      const ext = JSON.stringify({ appId: app.appId, appNewVersion: app.version, appOldVersion: '0.0.1' });
      const argInt = hash.digest('hex') === app.md5 ? 200 : 405;
      d.postEvent('hli_event', { eventType: 'haas.upgrade', eventName: 'app.result', argInt, ext }, (res) => console.log('result ' + res.code));
    }));
  });
  d.postEvent('hli_event_upgrade_query', { mac: 'aa:bb', firmwareVersion: '0.0.1', app: [{ appId, version: '0.0.1' }] }, (res) => {
    console.log('query ' + res.code);
    console.log('ready');
  });
});
process.stdin.on('end', () => d.end(false, () => { console.log('closed'); process.exit(0); })).resume();
