#!/bin/sh
# elbow behind a Classic Load Balancer, made by plain aws commands: what
# cloudformation/clb.yaml makes with its defaults.
# A test runs them and compares. How to use it is said in README.md.
#
#   VPC=vpc-… SUBNETS='subnet-… subnet-…' RELEASE_URL=https://… RELEASE_SHA256=… commands/clb.sh
#
# More that may be set: BALANCER_NETWORKS, CLIENT_NETWORK, INSTANCE_TYPE, IMAGE, IDLE_TIMEOUT,
# and NAME, which everything is called after.
set -eu
: "${VPC:?}" "${SUBNETS:?}" "${RELEASE_URL:?}" "${RELEASE_SHA256:?}"
NAME=${NAME:-elbow}
BALANCER_NETWORKS=${BALANCER_NETWORKS:-10.0.0.0/8,172.16.0.0/12,192.168.0.0/16}
CLIENT_NETWORK=${CLIENT_NETWORK:-0.0.0.0/0}
INSTANCE_TYPE=${INSTANCE_TYPE:-t4g.nano}
IDLE_TIMEOUT=${IDLE_TIMEOUT:-60}
IMAGE=${IMAGE:-$(aws ssm get-parameter --query Parameter.Value --output text \
  --name /aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64)}
here=$(dirname "$0")

# The balancer is reached by clients, the instances by the balancer only.
BALANCER_SECURITY_GROUP=$(aws ec2 create-security-group --vpc-id "$VPC" \
  --group-name "$NAME-balancer" --description "Balancer of elbow, from its clients" \
  --query GroupId --output text)
aws ec2 authorize-security-group-ingress --group-id "$BALANCER_SECURITY_GROUP" \
  --protocol tcp --port 80 --cidr "$CLIENT_NETWORK" >/dev/null
INSTANCE_SECURITY_GROUP=$(aws ec2 create-security-group --vpc-id "$VPC" \
  --group-name "$NAME-instances" --description "Instances of elbow, from their balancer only" \
  --query GroupId --output text)
aws ec2 authorize-security-group-ingress --group-id "$INSTANCE_SECURITY_GROUP" \
  --protocol tcp --port 3000-3001 --source-group "$BALANCER_SECURITY_GROUP" >/dev/null

# shellcheck disable=SC2086
aws elb create-load-balancer --load-balancer-name "$NAME" --scheme internet-facing \
  --subnets $SUBNETS --security-groups "$BALANCER_SECURITY_GROUP" --listeners \
  Protocol=TCP,LoadBalancerPort=80,InstanceProtocol=TCP,InstancePort=3000 >/dev/null

# The policy belongs to the port of the instances. The second call replaces what that port had.
aws elb create-load-balancer-policy --load-balancer-name "$NAME" --policy-name elbow-proxy \
  --policy-type-name ProxyProtocolPolicyType \
  --policy-attributes AttributeName=ProxyProtocol,AttributeValue=true
aws elb set-load-balancer-policies-for-backend-server --load-balancer-name "$NAME" \
  --instance-port 3000 --policy-names elbow-proxy
aws elb configure-health-check --load-balancer-name "$NAME" --health-check \
  Target=HTTP:3001/healthz,Interval=10,Timeout=5,HealthyThreshold=2,UnhealthyThreshold=2 >/dev/null
aws elb modify-load-balancer-attributes --load-balancer-name "$NAME" --load-balancer-attributes "{
    \"CrossZoneLoadBalancing\": {\"Enabled\": true},
    \"ConnectionSettings\": {\"IdleTimeout\": $IDLE_TIMEOUT},
    \"ConnectionDraining\": {\"Enabled\": true, \"Timeout\": 60}
  }" >/dev/null

# user_data PROXY-PROTOCOL: what an instance does when it starts, in base64.
user_data() {
  {
    echo '#!/bin/sh'
    echo "RELEASE_URL='$RELEASE_URL'"
    echo "RELEASE_SHA256='$RELEASE_SHA256'"
    echo "SETTINGS=\$(cat <<'END-OF-SETTINGS'"
    echo "ELBOW_LB=clb"
    echo "ELBOW_PROXY_PROTOCOL=$1"
    echo "ELBOW_PROXY_TRUST=$BALANCER_NETWORKS"
    echo "ELBOW_HEALTH_LISTEN=0.0.0.0:3001"
    echo "# ELBOW_REDIS is not set."
    echo
    echo "END-OF-SETTINGS"
    echo ")"
    cat "$here/../user-data.sh"
  } | base64 -w 0
}

TEMPLATE=$(aws ec2 create-launch-template --launch-template-name "$NAME" \
  --query LaunchTemplate.LaunchTemplateId --output text --launch-template-data "{
    \"ImageId\": \"$IMAGE\",
    \"InstanceType\": \"$INSTANCE_TYPE\",
    \"SecurityGroupIds\": [\"$INSTANCE_SECURITY_GROUP\"],
    \"MetadataOptions\": {\"HttpTokens\": \"required\", \"HttpEndpoint\": \"enabled\"},
    \"UserData\": \"$(user_data required)\"
  }")
aws autoscaling create-auto-scaling-group --auto-scaling-group-name "$NAME" \
  --launch-template "LaunchTemplateId=$TEMPLATE,Version=1" \
  --min-size 1 --max-size 1 --desired-capacity 1 \
  --health-check-type ELB --health-check-grace-period 120 \
  --vpc-zone-identifier "$(echo "$SUBNETS" | tr ' ' ,)" \
  --load-balancer-names "$NAME"

echo "BALANCER=$NAME"
echo "INSTANCES=$INSTANCE_SECURITY_GROUP"
