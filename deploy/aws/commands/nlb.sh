#!/bin/sh
# elbow behind a Network Load Balancer, made by plain aws commands: what
# cloudformation/nlb.yaml makes with its defaults, the green instances left out.
# A test runs them and compares. How to use it is said in README.md.
#
#   VPC=vpc-… SUBNETS='subnet-… subnet-…' RELEASE_URL=https://… RELEASE_SHA256=… commands/nlb.sh
#
# More that may be set: BALANCER_NETWORKS, CLIENT_NETWORK, INSTANCE_TYPE, IMAGE, IDLE_TIMEOUT,
# and NAME, which everything is called after.
set -eu
: "${VPC:?}" "${SUBNETS:?}" "${RELEASE_URL:?}" "${RELEASE_SHA256:?}"
NAME=${NAME:-elbow}
BALANCER_NETWORKS=${BALANCER_NETWORKS:-10.0.0.0/8,172.16.0.0/12,192.168.0.0/16}
CLIENT_NETWORK=${CLIENT_NETWORK:-0.0.0.0/0}
INSTANCE_TYPE=${INSTANCE_TYPE:-t4g.nano}
IDLE_TIMEOUT=${IDLE_TIMEOUT:-350}
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

# The security group has to be there from the beginning: an NLB that is made without can have none.
# shellcheck disable=SC2086
BALANCER=$(aws elbv2 create-load-balancer --name "$NAME" --type network --scheme internet-facing \
  --subnets $SUBNETS --security-groups "$BALANCER_SECURITY_GROUP" \
  --query 'LoadBalancers[0].LoadBalancerArn' --output text)
aws elbv2 modify-load-balancer-attributes --load-balancer-arn "$BALANCER" \
  --attributes Key=load_balancing.cross_zone.enabled,Value=true >/dev/null

# group COLOUR: a target group; prints its ARN.
group() {
  group=$(aws elbv2 create-target-group --name "$NAME-$1" --vpc-id "$VPC" \
    --target-type instance --protocol TCP --port 3000 \
    --health-check-protocol HTTP --health-check-port 3001 --health-check-path /healthz \
    --health-check-interval-seconds 10 --health-check-timeout-seconds 5 \
    --healthy-threshold-count 2 --unhealthy-threshold-count 2 \
    --query 'TargetGroups[0].TargetGroupArn' --output text)
  aws elbv2 modify-target-group-attributes --target-group-arn "$group" --attributes \
    Key=proxy_protocol_v2.enabled,Value=true \
    Key=preserve_client_ip.enabled,Value=false \
    Key=deregistration_delay.timeout_seconds,Value=60 \
    Key=deregistration_delay.connection_termination.enabled,Value=false \
    Key=target_health_state.unhealthy.connection_termination.enabled,Value=false >/dev/null
  echo "$group"
}
BLUE=$(group blue)
GREEN=$(group green)

# Weights are moved by modify-listener with the same default actions.
LISTENER=$(aws elbv2 create-listener --load-balancer-arn "$BALANCER" --protocol TCP --port 80 \
  --query 'Listeners[0].ListenerArn' --output text --default-actions "[{
    \"Type\": \"forward\", \"ForwardConfig\": {\"TargetGroups\": [
      {\"TargetGroupArn\": \"$BLUE\", \"Weight\": 100},
      {\"TargetGroupArn\": \"$GREEN\", \"Weight\": 0}]}}]")
aws elbv2 modify-listener-attributes --listener-arn "$LISTENER" \
  --attributes "Key=tcp.idle_timeout.seconds,Value=$IDLE_TIMEOUT" >/dev/null

# user_data PROXY-PROTOCOL: what an instance does when it starts, in base64.
user_data() {
  {
    echo '#!/bin/sh'
    echo "RELEASE_URL='$RELEASE_URL'"
    echo "RELEASE_SHA256='$RELEASE_SHA256'"
    echo "SETTINGS=\$(cat <<'END-OF-SETTINGS'"
    echo "ELBOW_LB=nlb"
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
  --target-group-arns "$BLUE"

echo "BALANCER=$BALANCER"
echo "LISTENER=$LISTENER"
echo "GROUP=$BLUE"
echo "INSTANCES=$INSTANCE_SECURITY_GROUP"
echo "GREEN=$GREEN"
