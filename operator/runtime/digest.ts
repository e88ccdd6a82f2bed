/** SHA-256 of bytes in memory on a thread of Node's pool, for what is too long for the event loop and not worth a thread of its own. */

/** 64 hex digits. The bytes are copied first, so they may change before it resolves. */
export async function sha256BesideLoop(bytes: Uint8Array): Promise<string> {
  return Buffer.from(
    await crypto.subtle.digest("SHA-256", Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)),
  ).toString("hex");
}
