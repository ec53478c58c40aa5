// ssh2-sftp-client: goes on with an upload and a download, and appends: HOST PORT USER PASSWORD DIRECTORY FOLDER.
const fs = require("fs");
const Client = require("ssh2-sftp-client");

const [host, port, username, password, directory, folder] = process.argv.slice(2);

async function work(sftp) {
  const there = `${directory}/file`;
  await sftp.connect({ host, port, username, password });
  await sftp.put(`${folder}/half`, there);
  const { size } = await sftp.stat(there);
  const rest = fs.createReadStream(`${folder}/whole`, { start: size });
  await sftp.put(rest, there, { writeStreamOptions: { flags: "r+", start: size } });
  await sftp.append(fs.createReadStream(`${folder}/more`), there);
  const begun = fs.statSync(`${folder}/back`).size;
  const back = fs.createWriteStream(`${folder}/back`, { flags: "a" });
  await sftp.get(there, back, { readStreamOptions: { start: begun } });
}

const sftp = new Client();
work(sftp)
  .catch((error) => {
    console.error(error.stack);
    process.exitCode = 1;
  })
  .finally(() => sftp.end());
