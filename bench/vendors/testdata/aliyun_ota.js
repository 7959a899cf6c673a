// A device with the vendor's SDK: login, an event, and an update. The SDK has no
// calls for updates; the device says what is to be said on the platform's topics.
'use strict';
const crypto = require('crypto');
const http = require('http');
const { device } = require(process.env.SDK);

const { BROKER, PRODUCT, SECRET } = process.env;
const d = device({ ProductKey: PRODUCT, DeviceName: 'gw-1', DeviceSecret: SECRET, brokerUrl: BROKER });
const topic = (path) => `${path}/${PRODUCT}/gw-1`;
let id = 0;
const say = (path, params) => d.publish(topic(path), JSON.stringify({ id: String(++id), version: '1.0', params }), { qos: 1 });

d.on('error', (err) => console.log('client error ' + err));
d.on('connect', () => {
  console.log('connected');
  d.postProps({ temperature: 21 }, (res) => console.log('props ' + res.code));
  d.subscribe(topic('/ota/device/upgrade'), { qos: 1 }, (err) => {
    if (err) return console.log('subscribe ' + err);
    say('/ota/device/inform', { version: '1.0' });
    console.log('ready');
  });
});
d.on('message', (from, payload) => {
  if (from !== topic('/ota/device/upgrade')) return;
  const { data } = JSON.parse(payload);
  console.log('upgrade to ' + data.version);
  say('/ota/device/progress', { step: '10', desc: 'download' });
  const hash = crypto.createHash('md5');
  http.get(data.url, (from) => from.on('data', (c) => hash.update(c)).on('end', () => {
    const good = hash.digest('hex') === data.md5;
    say('/ota/device/progress', { step: good ? '100' : '-3', desc: '' });
    if (good) say('/ota/device/inform', { version: data.version });
    console.log(good ? 'upgraded' : 'wrong digest');
  }));
});
process.stdin.on('end', () => d.end(false, () => { console.log('closed'); process.exit(0); })).resume();
