#!/usr/bin/env node
// An identity provider for Portcullis: one file, no package.
//
//   node idp.mjs --listen 127.0.0.1:8000 --users users.json
//   node idp.mjs --hash < password        # prints the hash of a password

import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs, promisify } from "node:util";

const QUESTION_BYTES_MAX = 64 * 1024;
const COST = { N: 2 ** 14, r: 8, p: 1 };
const derive = promisify(scrypt);

async function hashPassword(password, salt = randomBytes(16)) {
  const key = await derive(password, salt, 32, COST);
  return `scrypt$${salt.toString("base64")}$${key.toString("base64")}`;
}

// An unknown user is compared with this one, so that it takes as long as a wrong password.
const NOBODY = await hashPassword(randomBytes(32));

async function passwordIsRight(password, stored) {
  const [scheme, salt, key] = stored.split("$");
  const expected = Buffer.from(key ?? "", "base64");
  if (scheme !== "scrypt" || expected.length !== 32) {
    // One user's record is wrong. That is a no about this user: an error would say that nobody
    // can log in.
    console.error("a stored password is no hash: node idp.mjs --hash");
    return false;
  }
  return timingSafeEqual(await derive(password, Buffer.from(salt, "base64"), 32, COST), expected);
}

/** Returns the answer to one question; `users` is the parsed users.json. */
async function answer(users, question) {
  const user = Object.hasOwn(users, question.username) ? users[question.username] : undefined;
  const transferFamily = user?.form === "transfer-family";
  const denial = transferFamily ? {} : { allow: false };
  const { password } = question;

  // Only the method decides what is asked. A password that merely looks blank is still one, and
  // must not turn the question into a look-up of keys. Transfer Family's event has no method:
  // there exactly "" means a key look-up.
  const method = question.method ?? (password ? "password" : "public-key");
  let keys; // keys in the answer to a password would make it invalid
  if (method === "public-key") {
    if (!user?.publicKeys?.length) return denial;
    keys = user.publicKeys;
  } else {
    // Who has keys only has no hash: any password is wrong.
    const right = await passwordIsRight(password ?? "", user?.passwordHash || NOBODY);
    if (!right || !user) return denial;
  }

  // JSON.stringify leaves out what is undefined.
  if (!transferFamily) {
    return { allow: true, mappings: user.mappings, home: user.home, publicKeys: keys };
  }
  const logical = user.homeDirectoryType === "LOGICAL";
  const rows = logical && user.mappings.map((m) => ({ Entry: m.entry, Target: m.target }));
  return {
    Role: user.role,
    HomeDirectoryType: user.homeDirectoryType,
    HomeDirectoryDetails: logical ? JSON.stringify(rows) : undefined, // a string that holds JSON
    HomeDirectory: logical ? undefined : user.homeDirectory,
    PublicKeys: keys,
  };
}

/** Logs what was answered about whom, with the id that the gateway's log has too. */
function report({ requestId, username, method, password }, result) {
  const verdict = result.allow || result.Role ? "allowed" : "denied";
  method ??= password ? "password" : "public-key";
  console.error(JSON.stringify({ requestId, user: username, method, verdict }));
}

/** Reads a question, or returns nothing if the body is none. */
async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > QUESTION_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  try {
    const question = JSON.parse(Buffer.concat(chunks));
    const { username, password = "" } = question;
    return typeof username === "string" && typeof password === "string" ? question : undefined;
  } catch {
    return undefined;
  }
}

async function respond(users, request) {
  if (request.method !== "POST") return [405, { error: "POST a question" }];
  const question = await read(request);
  if (!question) return [400, { error: "not a question" }];
  const result = await answer(users, question);
  report(question, result);
  return [200, result];
}

function serve(users, host, port) {
  const server = createServer(async (request, response) => {
    let status, body;
    try {
      [status, body] = await respond(users, request);
    } catch (error) {
      // Not a denial: the gateway is to see that this is an outage.
      console.error(error.message);
      [status, body] = [500, { error: "internal" }];
    }
    const text = JSON.stringify(body);
    // A body that was not read to its end leaves a connection that cannot go on.
    const rest = status === 200 ? {} : { Connection: "close" };
    const length = Buffer.byteLength(text);
    const headers = { "Content-Type": "application/json", "Content-Length": length, ...rest };
    response.writeHead(status, headers).end(text);
    // The body, with the password, is never logged.
    console.error(request.socket.remoteAddress, request.method, status);
  });
  // Longer than the gateway keeps a connection: it must not end while a question is on its way.
  server.keepAliveTimeout = 60_000;
  server.listen(port, host, () => {
    console.log(`listening on http://${host}:${server.address().port}/`);
  });
}

const { values: options } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:8000" },
    users: { type: "string", default: "users.json" },
    hash: { type: "boolean", default: false },
  },
});
if (options.hash) {
  console.log(await hashPassword(readFileSync(0, "utf8").trimEnd()));
} else {
  const [host, port] = options.listen.split(":");
  serve(JSON.parse(readFileSync(options.users, "utf8")), host, Number(port));
}
