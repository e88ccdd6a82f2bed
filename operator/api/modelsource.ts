/** Where a Model's files come from: a bucket, or a repository of the hub. */
import { z } from "zod";
import { dnsSubdomain, matching, rules } from "./schema.ts";

/** Scheme, host (a name, IPv4 or bracketed IPv6) and an optional port. */
const HOST_ONLY = "^https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?/?$";

const s3Fields = z.object({
  endpoint: rules(
    z.string().max(512),
    {
      rule: "self.startsWith('https://') || self.startsWith('http://')",
      message: "endpoint needs a scheme: write it as https://host or https://host:port",
    },
    {
      rule: "!self.contains('@')",
      message: "endpoint must not carry credentials: put them into the Secret that credentialsSecretRef names",
    },
    {
      rule: `!self.matches(r'^https?://') || self.contains('@') || self.matches(r'${HOST_ONLY}')`,
      message:
        "endpoint is only scheme, host and port: write the bucket into spec.source.s3.bucket and the folder into spec.source.s3.prefix",
    },
  ).describe("URL of the S3 service with scheme and host, without bucket or path, for example https://s3.example.org."),
  region: matching(
    z.string().max(64),
    "^[a-zA-Z0-9-]+$",
    "region is one word such as us-east-1 or eu-central-1: leave it out for services without regions",
  )
    .default("us-east-1")
    .describe("Region that requests are signed for; services without regions take the default us-east-1."),
  bucket: matching(
    z.string().max(255),
    "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
    "bucket is the bare name, without s3:// and without a folder: 3 to 63 lower-case letters, digits, '.' and '-'",
  ).describe("Bucket that holds the model's files."),
  prefix: rules(
    z.string().max(512).default(""),
    { rule: "!self.startsWith('/')", message: "prefix must not begin with '/': write it as models/llama/" },
    {
      rule: "!self.split('/').exists(p, p == '..' || p == '.')",
      message: "prefix must not contain '.' or '..' segments: write the folder's full name",
    },
    {
      rule: "!self.contains('//')",
      message: "prefix must not contain '//': write the folder inside the bucket, without s3:// and the bucket's name",
    },
    {
      rule: "!self.matches(r'[\\x00-\\x1f\\x7f\\\\]')",
      message: "prefix must not contain control characters or backslashes: separate folders by '/'",
    },
  ).describe("Folder inside the bucket, for example models/llama-8b/; all files below it belong to the model."),
  credentialsSecretRef: z
    .object({
      name: dnsSubdomain.describe("Name of a Secret of type berth.dev/source-credentials in the Model's namespace."),
    })
    .optional()
    .describe("Secret with accessKeyId and secretAccessKey; leave it out for a bucket that anybody may read."),
  addressingStyle: z
    .enum(["Path", "VirtualHost"])
    .default("Path")
    .describe(
      "Path asks https://endpoint/bucket, VirtualHost https://bucket.endpoint: take it for services that know nothing else.",
    ),
  requesterPays: z
    .boolean()
    .default(false)
    .describe("True accepts that the account of the credentials pays for listing and reading, as such buckets demand."),
});

const s3Source = rules(
  s3Fields,
  {
    rule: "self.addressingStyle != 'VirtualHost' || !self.endpoint.matches(r'^https?://([0-9.]+|\\[.*\\])(:[0-9]+)?/?$')",
    message:
      "addressingStyle VirtualHost needs an endpoint with a name, since a bucket cannot stand before an address: write the service's name or use Path",
  },
  {
    rule: "self.addressingStyle != 'VirtualHost' || !self.endpoint.startsWith('https://') || !self.bucket.contains('.')",
    message: "a bucket with a dot has no certificate as a host name: use addressingStyle Path",
  },
  {
    rule: "!self.requesterPays || has(self.credentialsSecretRef)",
    message: "requesterPays needs credentialsSecretRef: nobody could be charged for a request without a signature",
  },
);

const huggingFaceSource = z.object({
  repo: matching(
    z.string().max(200),
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$",
    "repo is the repository's name on the hub, without https:// and host: write org/name",
  ).describe("Repository on the hub that the platform names, for example Qwen/Qwen3-8B."),
  revision: matching(
    z.string().max(128),
    "^[A-Za-z0-9_][A-Za-z0-9_./-]*$",
    "revision is a branch, a tag or a commit, for example main or 40 hexadecimal digits",
  )
    .default("main")
    .describe(
      "Branch, tag or commit. It is resolved to a commit when the model is inspected, and that commit is imported.",
    ),
  tokenSecretRef: z
    .object({
      name: dnsSubdomain.describe("Name of a Secret of type berth.dev/source-credentials in the Model's namespace."),
    })
    .optional()
    .describe("Secret with the key token, for a gated or private repository; its annotation must list the hub."),
});

export const modelSource = rules(
  z.object({
    s3: s3Source.optional().describe("Files in an S3-compatible bucket in Hugging Face layout."),
    huggingFace: huggingFaceSource
      .optional()
      .describe("A repository of the Hugging Face hub, or of the mirror that the platform has set."),
  }),
  {
    rule: "has(self.s3) != has(self.huggingFace)",
    message: "exactly one source is needed: set spec.source.s3 or spec.source.huggingFace",
  },
).describe("Where the model's files come from; a change imports a new revision beside the old one.");
