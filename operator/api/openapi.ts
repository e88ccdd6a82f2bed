/** The usage API as an OpenAPI 3.1 document, made from the schemas that its answers are made from. */
import { z } from "zod";

import { groupedUsage, usageReport } from "./usage.ts";
import { usageParameters } from "./usagequestion.ts";

const refusal = z.object({
  /** What is wrong and what to do. */
  error: z.string(),
  parameter: z.string().optional(),
  value: z.string().optional(),
});

/** JSON Schema 2020-12, which is the dialect of OpenAPI 3.1; nothing beyond what is named here is answered. */
function schemaOf(schema: z.ZodType): object {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema);
  return rest;
}

const json = (schema: object): object => ({ "application/json": { schema } });
const answer = (description: string, name = "Refusal"): object => ({
  description,
  content: json({ $ref: `#/components/schemas/${name}` }),
});

export const openApiDocument = {
  openapi: "3.1.1",
  info: {
    title: "Berth usage",
    version: "v1",
    summary: "Provisioned capacity of ModelDeployments by hour: sealed windows and the open ones, marked as such.",
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  },
  security: [{ kubernetesToken: [] }],
  paths: {
    "/v1/usage": {
      get: {
        operationId: "getUsage",
        summary: "Records of windows, or their sums where granularity or groupBy is given",
        description:
          "Kubernetes decides who the caller is (TokenReview) and what they see: namespaces in which they may get modeldeployments.berth.dev (SubjectAccessReview). A record whose namespaceUID is not that of the namespace that has the name now is for those who may get them in all namespaces.",
        parameters: Object.entries(usageParameters).map(([name, rest]) => ({ name, in: "query", ...rest })),
        responses: {
          "200": {
            description: "Records, or sums where granularity or groupBy is given; `next` where more follow",
            content: json({
              oneOf: [{ $ref: "#/components/schemas/UsageReport" }, { $ref: "#/components/schemas/GroupedUsage" }],
            }),
          },
          "400": answer("The question is wrong: the parameter, its value and what to write instead"),
          "401": answer("No token, or one that Kubernetes does not accept"),
          "403": answer("You may not read the namespace that you named"),
          "503": answer("Kubernetes or the ledger does not answer: try again later"),
        },
      },
    },
    "/v1/openapi.json": {
      get: {
        operationId: "getOpenApi",
        summary: "This document",
        security: [],
        responses: {
          "200": { description: "OpenAPI 3.1", content: json({ type: "object" }) },
        },
      },
    },
  },
  components: {
    securitySchemes: {
      kubernetesToken: { type: "http", scheme: "bearer", description: "A token of the cluster's API server" },
    },
    schemas: {
      UsageReport: schemaOf(usageReport),
      GroupedUsage: schemaOf(groupedUsage),
      Refusal: schemaOf(refusal),
    },
  },
};
