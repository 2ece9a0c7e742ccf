// Why an upload ends before everything is sent.

/** Something a person must act on: the message's key and what fills its holes. */
export class Stop extends Error {
  /** `final`: only another folder helps; `session`: logging in helps. */
  constructor(key, values = {}, { final = false, session = false } = {}) {
    super(key);
    Object.assign(this, { key, values, final, session });
  }
}

/** The submission was sent meanwhile, from here or elsewhere. */
export class Sent extends Error {}
