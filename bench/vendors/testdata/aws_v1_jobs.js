// A thing with the vendor's first SDK that carries out jobs.
'use strict';
const crypto = require('crypto');
const http = require('http');
const { jobs } = require('aws-iot-device-sdk');

const { HOST, PORT, CA, CERT, KEY } = process.env;
const thing = jobs({ host: HOST, port: Number(PORT), caPath: CA, certPath: CERT, keyPath: KEY, clientId: 'gw-1' });

thing.on('error', (err) => console.log('client error ' + err.message));
thing.subscribeToJobs('gw-1', (err, job) => {
  if (err) return console.log('jobs error ' + err);
  if (job === null) return console.log('no job');
  console.log('job ' + job.status.status + ' version ' + job.document.version);
  job.inProgress({ step: 'download' }, (err) => {
    if (err) return console.log('in progress ' + err);
    const hash = crypto.createHash('sha256');
    http.get(job.document.url, (from) => from.on('data', (d) => hash.update(d)).on('end', () => {
      const digest = hash.digest('hex');
      console.log('downloaded ' + digest);
      job[digest === job.document.sha256 ? 'succeeded' : 'failed']({ step: 'done' }, (err) => console.log('end ' + (err || 'sent')));
    }));
  });
});
thing.on('connect', () => thing.startJobNotifications('gw-1', (err) => console.log(err ? 'start ' + err : 'ready')));
process.stdin.on('end', () => thing.end(false, () => { console.log('closed'); process.exit(0); })).resume();
