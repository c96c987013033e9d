// Validate the documents of standard input, a JSON list, against the custom resource definitions of the Prometheus operator.
import { readFileSync } from "node:fs";

const PREFIX = "ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1";
const problems = [];
for (const document of JSON.parse(readFileSync(0, "utf-8"))) {
  const schema = `./node_modules/@kubernetes-models/prometheus-operator/_schemas/${PREFIX}${document.kind}.js`;
  const { validate } = await import(schema);
  if (!validate(document)) {
    problems.push(...validate.errors.map((error) => `${document.kind}${error.instancePath}: ${error.keyword}`));
  }
}
console.log(JSON.stringify(problems));
