"""Values that people will give the chart, with what the cluster has beside it and what has to come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trustme

ROLE = "arn:aws:iam::111111111111:role/bedrock-poller"
WEBHOOK = {"webhook-secret": "whsec_c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2g="}
ALWAYS = frozenset({"Deployment", "NetworkPolicy", "Service"})
USUAL = ALWAYS | {"ConfigMap", "PersistentVolumeClaim", "ServiceAccount"}
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_CERTIFICATE = trustme.CA().issue_cert("poller")
_SECRETS = "/etc/bedrock-poller/secrets"
_OPS = {
    "type": "webhook",
    "url": "https://hooks.example.com/bedrock",
    "secret_file": f"{_SECRETS}/webhook-secret",
}
_CONFIG = "targets: [{name: mine, regions: [eu-west-1]}]\n"


@dataclass(frozen=True)
class Case:
    """One set of values."""

    values: dict[str, Any]
    kinds: frozenset[str] = USUAL
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)


_POSTGRESQL: dict[str, Any] = {
    "replicaCount": 3,
    "postgresql": {
        "enabled": True,
        "url": "postgresql://bedrock_poller@db.example.com:6432/bedrock_poller?sslmode=require",
        "passwordSecret": {"name": "database", "key": "pass"},
    },
}
_EVERYTHING: dict[str, Any] = {
    **_POSTGRESQL,
    "fullnameOverride": "watcher",
    "commonLabels": {"team": "ml"},
    "commonAnnotations": {"example.com/owner": "ml", "a": "common"},
    "image": {"repository": "registry.example.com/bedrock-poller", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {
        "targets": [{"name": "prod", "regions": ["us-east-1"]}, {"name": "research", "role_arn": ROLE}],
        "sinks": {"ops": _OPS, "audit": {"type": "log"}},
        "routes": [{"match": {"status": ["Failed"]}, "sinks": ["ops"]}, {"sinks": ["audit"]}],
        "shutdown": {"grace": "1m30.5s"},
    },
    "secretFiles": [
        {"secretName": "webhook", "items": [{"key": "webhook-secret", "path": "webhook-secret"}]},
        {"secretName": "absent", "optional": True},
    ],
    "serviceAccount": {"name": "watcher-aws", "annotations": {"eks.amazonaws.com/role-arn": ROLE}},
    "service": {"type": "LoadBalancer", "port": 80, "labels": {"scraped": "yes"}, "annotations": {"a": "b"}},
    "web": {"port": 8080},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "deploymentAnnotations": {"e": "f"},
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"c": "d"}},
                    },
                }
            ]
        }
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
        {
            "maxSkew": 1,
            "topologyKey": "host",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"c": "d"}},
        },
    ],
    "priorityClassName": "high",
    "extraArgs": ["--log-level", "debug"],
    "extraEnv": [
        {"name": "AWS_REGION", "value": "eu-west-1"},
        {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}},
    ],
    "extraEnvFrom": [{"configMapRef": {"name": "variables"}}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities", "readOnly": True}],
    "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
    "dnsPolicy": "None",
    "dnsConfig": {
        "nameservers": ["10.0.0.10"],
        "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
    },
    "hostAliases": [{"ip": "10.0.0.5", "hostnames": ["hooks.example.com"]}],
    "initContainers": [
        {
            "name": "wait",
            "image": "registry.example.com/wait:1",
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            "securityContext": _RESTRICTED,
        }
    ],
    "extraContainers": [
        {"name": "proxy", "image": "registry.example.com/proxy:1", "securityContext": _RESTRICTED}
    ],
    "extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": '{{ include "bedrock-poller.fullname" . }}-of-{{ .Release.Name }}'},
            "data": {"port": "{{ .Values.web.port }}"},
        },
        "apiVersion: v1\nkind: Secret\nmetadata: {name: '{{ .Release.Namespace }}-text'}\n",
    ],
    "podDisruptionBudget": {"enabled": True, "minAvailable": "50%"},
    "networkPolicy": {
        "ingress": {"from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        "egress": {
            "dns": [{"ipBlock": {"cidr": "10.0.0.10/32"}}],
            "ports": [443, 8443],
            "extra": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}],
        },
    },
    "serviceMonitor": {
        "enabled": True,
        "namespace": "monitoring",
        "labels": {"release": "prometheus"},
        "scrapeTimeout": "10s",
        "relabelings": [{"targetLabel": "cluster", "replacement": "one"}],
        "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "python_.*"}],
    },
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Bedrock"}},
}

CASES = {
    "defaults": Case({}),
    "IRSA and a signed webhook": Case(
        {
            "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": ROLE}},
            "config": {"sinks": {"ops": _OPS}},
            "secretFiles": [{"secretName": "webhook"}],
        },
        secrets={"webhook": WEBHOOK},
    ),
    "PostgreSQL with 3 replicas": Case(
        {**_POSTGRESQL, "podDisruptionBudget": {"enabled": True}},
        kinds=USUAL - {"PersistentVolumeClaim"} | {"PodDisruptionBudget"},
        secrets={"database": {"pass": "tiger"}},
    ),
    "everything on": Case(
        _EVERYTHING,
        kinds=USUAL - {"PersistentVolumeClaim"}
        | {"PodDisruptionBudget", "PrometheusRule", "Secret", "ServiceMonitor"},
        config_maps={"authorities": {"ca.crt": "-----BEGIN CERTIFICATE-----"}},
        secrets={"webhook": WEBHOOK, "database": {"pass": "tiger"}},
    ),
    "no volume": Case({"persistence": {"enabled": False}}, kinds=USUAL - {"PersistentVolumeClaim"}),
    "a volume that exists": Case(
        {"persistence": {"existingClaim": "mine"}}, kinds=USUAL - {"PersistentVolumeClaim"}
    ),
    "a configuration in a ConfigMap": Case(
        {"existingConfigMap": "mine", "configKey": "poller.yaml"},
        kinds=USUAL - {"ConfigMap"},
        config_maps={"mine": {"poller.yaml": _CONFIG}},
    ),
    "a configuration in a Secret": Case(
        {"existingSecret": "mine", "serviceAccount": {"create": False, "name": "there"}},
        kinds=USUAL - {"ConfigMap", "ServiceAccount"},
        secrets={"mine": {"config.yaml": _CONFIG}},
    ),
    "TLS and tokens": Case(
        {
            "config": {
                "web": {
                    "tls": {"cert_file": f"{_SECRETS}/tls.crt", "key_file": f"{_SECRETS}/tls.key"},
                    "auth": {"token_file": f"{_SECRETS}/token"},
                }
            },
            "secretFiles": [{"secretName": "certificate"}, {"secretName": "scraper"}],
            "serviceMonitor": {
                "enabled": True,
                "authorization": {"credentials": {"name": "scraper", "key": "token"}},
                "tlsConfig": {
                    "ca": {"secret": {"name": "certificate", "key": "ca.crt"}},
                    "serverName": "poller",
                },
            },
        },
        kinds=USUAL | {"ServiceMonitor"},
        secrets={
            "certificate": {
                "tls.crt": _CERTIFICATE.cert_chain_pems[0].bytes().decode(),
                "tls.key": _CERTIFICATE.private_key_pem.bytes().decode(),
            },
            "scraper": {"token": "a-token-that-is-long-enough-for-anybody"},
        },
    ),
    "OpenShift's own users": Case(
        {
            "podSecurityContext": {
                "runAsUser": 1000640000,
                "runAsGroup": None,
                "fsGroup": None,
                "fsGroupChangePolicy": None,
            }
        }
    ),
}
