{{/* Labels of a group, by which it is selected, too: (dict "root" $ "component" … "cluster" …), cluster may be missing. */}}
{{- define "flotilla.labels" -}}
app.kubernetes.io/name: flotilla
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .cluster }}
flotilla/cluster: {{ . }}
{{- end }}
{{- end }}

{{- define "flotilla.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* With what the image is pulled: nothing, or the field of a pod. */}}
{{- define "flotilla.pull" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "flotilla.secret" -}}
{{ .Values.secrets.existing | default (printf "%s-secrets" .Release.Name) }}
{{- end }}

{{/* Peer addresses of the pods that form a group: (dict "set" NAME "count" N). */}}
{{- define "flotilla.members" -}}
{{- $set := .set -}}
{{- $all := list -}}
{{- range $i := until (int .count) -}}
{{- $all = append $all (printf "%s-%d.%s:7402" $set $i $set) -}}
{{- end -}}
{{- join "," $all -}}
{{- end }}

{{/* Security of a pod. */}}
{{- define "flotilla.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Security of a container. */}}
{{- define "flotilla.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}

{{/* A headless Service: (dict "root" $ "name" … "component" … "cluster" …). */}}
{{- define "flotilla.headless" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "flotilla.labels" . | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "flotilla.labels" . | nindent 4 }}
  ports:
    - name: public
      port: 7401
      targetPort: public
      protocol: TCP
    - name: peer
      port: 7402
      targetPort: peer
      protocol: TCP
    - name: ops
      port: 7403
      targetPort: ops
      protocol: TCP
{{- end }}

{{/* A PodDisruptionBudget: as above. */}}
{{- define "flotilla.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "flotilla.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "flotilla.labels" . | nindent 6 }}
{{- end }}

{{/* What the values of a kind of servers give to its pods as it is: (values of the kind). */}}
{{- define "flotilla.given" -}}
{{- pick . "resources" "storage" "settings" "podAnnotations" "nodeSelector" "tolerations" | toYaml -}}
{{- end }}

{{/*
A StatefulSet: as above, with "members", "replicas", "env" (lines), "preStop" (lines), "files" (keys of the Secret), and what "flotilla.given"
names. k8s/base says why each thing is as it is.
*/}}
{{- define "flotilla.set" -}}
{{- if lt (int .replicas) (int .members) -}}
{{- fail (printf "%s: %d replicas are fewer than the %d members that formed the group" .name (int .replicas) (int .members)) -}}
{{- end -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "flotilla.labels" . | nindent 4 }}
spec:
  serviceName: {{ .name }}
  replicas: {{ .replicas }}
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  revisionHistoryLimit: 5
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  selector:
    matchLabels:
      {{- include "flotilla.labels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "flotilla.labels" . | nindent 8 }}
      {{- with .podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ .root.Release.Name }}
      automountServiceAccountToken: false
      {{- include "flotilla.pull" .root | nindent 6 }}
      {{- with .nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: 120
      securityContext:
        {{- include "flotilla.podSecurity" . | nindent 8 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: {{ .root.Values.spread.zones }}
          nodeTaintsPolicy: Honor
          labelSelector:
            matchLabels:
              {{- include "flotilla.labels" . | nindent 14 }}
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: {{ .root.Values.spread.machines }}
          nodeTaintsPolicy: Honor
          labelSelector:
            matchLabels:
              {{- include "flotilla.labels" . | nindent 14 }}
      containers:
        - name: {{ .component }}
          image: {{ include "flotilla.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args:
            - {{ .component }}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: POD_NAMESPACE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.namespace
            {{- .env | nindent 12 }}
            {{- range $key, $value := .settings }}
            - name: FLOTILLA_{{ upper $key }}
              value: {{ $value | quote }}
            {{- end }}
          ports:
            - name: public
              containerPort: 7401
              protocol: TCP
            - name: peer
              containerPort: 7402
              protocol: TCP
            - name: ops
              containerPort: 7403
              protocol: TCP
          startupProbe:
            httpGet:
              path: /healthz
              port: ops
            periodSeconds: 1
            timeoutSeconds: 1
            failureThreshold: 600
          readinessProbe:
            httpGet:
              path: /readyz
              port: ops
            periodSeconds: 3
            timeoutSeconds: 2
            failureThreshold: 2
            successThreshold: {{ if eq (int .replicas) 1 }}1{{ else }}12{{ end }}
          livenessProbe:
            httpGet:
              path: /healthz
              port: ops
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          lifecycle:
            preStop:
              {{- .preStop | nindent 14 }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          securityContext:
            {{- include "flotilla.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - name: data
              mountPath: /var/lib/flotilla
            - name: secrets
              mountPath: /etc/flotilla
              readOnly: true
      volumes:
        - name: secrets
          secret:
            secretName: {{ include "flotilla.secret" .root }}
            defaultMode: 288
            items:
              {{- range .files }}
              - key: {{ . }}
                path: {{ . }}
              {{- end }}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "flotilla.labels" . | nindent 10 }}
      spec:
        accessModes:
          - ReadWriteOnce
        {{- with .storage.className }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .storage.size }}
{{- end }}

{{/* Settings that both kinds of servers have: (dict "listen" IP "peer" ADDRESS "public" URL "members" LIST). */}}
{{- define "flotilla.settings" -}}
- name: FLOTILLA_NAME
  value: $(POD_NAME)
- name: FLOTILLA_DATA_DIR
  value: /var/lib/flotilla/data
- name: FLOTILLA_PUBLIC
  value: "{{ .listen }}:7401"
- name: FLOTILLA_PEER
  value: "{{ .listen }}:7402"
- name: FLOTILLA_OPS
  value: "{{ .listen }}:7403"
- name: FLOTILLA_ADVERTISE_PEER
  value: {{ .peer }}
- name: FLOTILLA_ADVERTISE_PUBLIC
  value: {{ .public }}
- name: FLOTILLA_INITIAL_MEMBERS
  value: {{ .members }}
- name: FLOTILLA_JOIN
  value: {{ .members }}
{{- end }}
