# elbow behind a Classic Load Balancer: a fleet of instances, PROXY protocol v1 on their port, and,
# if wanted, an ElastiCache that makes all instances one world. How to use it is said in README.md
# of the folder above.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

variable "name" {
  description = "What everything is called after."
  default     = "elbow"
}

variable "vpc" {
  description = "The VPC."
  type        = string
}

variable "subnets" {
  description = "Subnets of the balancer and of the instances, with a way out to fetch releases."
  type        = list(string)
}

variable "balancer_networks" {
  description = "Networks of these subnets. Only from there PROXY headers are believed."
  type        = list(string)
  default     = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
}

variable "client_network" {
  description = "Network of the clients."
  default     = "0.0.0.0/0"
}

variable "certificate" {
  description = "ARN of a certificate for TLS on port 443, from ACM. Without it TCP on port 80."
  default     = ""
}

variable "idle_timeout" {
  description = "Seconds after which a silent connection is closed. Above twice --ping-interval."
  default     = 60
}

variable "instance_type" {
  default = "t4g.nano"
}

variable "image" {
  description = "Debian 12 for Arm is /aws/service/debian/release/12/latest/arm64."
  default     = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

variable "instance_profile" {
  description = "Name of an instance profile, such as one with AmazonSSMManagedInstanceCore."
  default     = ""
}

variable "settings" {
  description = "More lines for /etc/default/elbow, such as ELBOW_HISTORY=1000."
  type        = list(string)
  default     = []
}

variable "redis_node_type" {
  description = "Node type of an ElastiCache for Valkey that joins all instances. Empty for none."
  default     = ""
}

variable "release_url" {
  description = "Folder with the files of a release, by https."
  type        = string
}

variable "release_sha256" {
  description = "SHA-256 of the file SHA256SUMS in that folder."
  type        = string
}

variable "instances" {
  description = "How many instances run. Without Redis each is a world of its own."
  default     = 1
}

variable "proxy_protocol" {
  description = "What instances want: required; or optional, for a time of moving over."
  default     = "required"
}

variable "balancer_proxy_protocol" {
  description = "Whether the balancer sends PROXY headers."
  default     = true
}

locals {
  has_tls   = var.certificate != ""
  has_redis = var.redis_node_type != ""
  port      = local.has_tls ? 443 : 80

  redis_host    = one(aws_elasticache_replication_group.redis[*].primary_endpoint_address)
  redis_url     = "rediss://${local.redis_host}:6379"
  redis_setting = local.has_redis ? "ELBOW_REDIS=${local.redis_url}" : "# ELBOW_REDIS is not set."
}

data "aws_ssm_parameter" "image" {
  name = var.image
}

resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "Balancer of elbow, from its clients"
  vpc_id      = var.vpc

  ingress {
    description = "Clients"
    protocol    = "tcp"
    from_port   = local.port
    to_port     = local.port
    cidr_blocks = [var.client_network]
  }

  egress {
    description = "Everything"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "instances" {
  name        = "${var.name}-instances"
  description = "Instances of elbow, from their balancer only"
  vpc_id      = var.vpc

  ingress {
    description     = "Clients and health checks, by the balancer"
    protocol        = "tcp"
    from_port       = 3000
    to_port         = 3001
    security_groups = [aws_security_group.balancer.id]
  }

  egress {
    description = "Everything"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_elb" "balancer" {
  name            = var.name
  internal        = false
  subnets         = var.subnets
  security_groups = [aws_security_group.balancer.id]

  cross_zone_load_balancing   = true
  idle_timeout                = var.idle_timeout
  connection_draining         = true
  connection_draining_timeout = 60

  listener {
    lb_port            = local.port
    lb_protocol        = local.has_tls ? "ssl" : "tcp"
    ssl_certificate_id = local.has_tls ? var.certificate : null
    instance_port      = 3000
    instance_protocol  = "tcp"
  }

  health_check {
    target              = "HTTP:3001/healthz"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

# The policy belongs to the port of the instances.
resource "aws_proxy_protocol_policy" "proxy" {
  count          = var.balancer_proxy_protocol ? 1 : 0
  load_balancer  = aws_elb.balancer.name
  instance_ports = ["3000"]
}

# What a Classic balancer takes by itself lets in TLS 1.0, too.
resource "aws_load_balancer_policy" "tls" {
  count              = local.has_tls ? 1 : 0
  load_balancer_name = aws_elb.balancer.name
  policy_name        = "elbow-tls"
  policy_type_name   = "SSLNegotiationPolicyType"

  policy_attribute {
    name  = "Reference-Security-Policy"
    value = "ELBSecurityPolicy-TLS-1-2-2017-01"
  }
}

resource "aws_load_balancer_listener_policy" "tls" {
  count              = local.has_tls ? 1 : 0
  load_balancer_name = aws_elb.balancer.name
  load_balancer_port = local.port
  policy_names       = [aws_load_balancer_policy.tls[0].policy_name]
}

resource "aws_launch_template" "fleet" {
  name          = var.name
  image_id      = data.aws_ssm_parameter.image.insecure_value
  instance_type = var.instance_type

  vpc_security_group_ids = [aws_security_group.instances.id]

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  dynamic "iam_instance_profile" {
    for_each = var.instance_profile == "" ? [] : [var.instance_profile]
    content {
      name = iam_instance_profile.value
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.name}" }
  }

  user_data = base64encode(join("\n", concat(
    [
      "#!/bin/sh",
      "RELEASE_URL='${var.release_url}'",
      "RELEASE_SHA256='${var.release_sha256}'",
      "SETTINGS=$(cat <<'END-OF-SETTINGS'",
      "ELBOW_LB=clb",
      "ELBOW_PROXY_PROTOCOL=${var.proxy_protocol}",
      "ELBOW_PROXY_TRUST=${join(",", var.balancer_networks)}",
      "ELBOW_HEALTH_LISTEN=0.0.0.0:3001",
      local.redis_setting,
    ],
    var.settings,
    ["", "END-OF-SETTINGS", ")", file("${path.module}/../../user-data.sh")],
  )))
}

resource "aws_autoscaling_group" "fleet" {
  name                      = var.name
  min_size                  = var.instances
  max_size                  = var.instances
  desired_capacity          = var.instances
  vpc_zone_identifier       = var.subnets
  health_check_type         = "ELB"
  health_check_grace_period = 120
  load_balancers            = [aws_elb.balancer.name]

  launch_template {
    id      = aws_launch_template.fleet.id
    version = aws_launch_template.fleet.latest_version
  }
}

resource "aws_security_group" "redis" {
  count       = local.has_redis ? 1 : 0
  name        = "${var.name}-redis"
  description = "Redis of elbow, from its instances only"
  vpc_id      = var.vpc

  ingress {
    description     = "Instances"
    protocol        = "tcp"
    from_port       = 6379
    to_port         = 6379
    security_groups = [aws_security_group.instances.id]
  }
}

resource "aws_elasticache_subnet_group" "redis" {
  count      = local.has_redis ? 1 : 0
  name       = var.name
  subnet_ids = var.subnets
}

resource "aws_elasticache_replication_group" "redis" {
  count                      = local.has_redis ? 1 : 0
  replication_group_id       = var.name
  description                = "Backplane of elbow"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.redis_node_type
  num_cache_clusters         = 1
  automatic_failover_enabled = false
  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  subnet_group_name          = aws_elasticache_subnet_group.redis[0].name
  security_group_ids         = [aws_security_group.redis[0].id]
}

output "address" {
  value = aws_elb.balancer.dns_name
}

output "BALANCER" {
  value = aws_elb.balancer.name
}

output "INSTANCES" {
  value = aws_security_group.instances.id
}

output "FLEET" {
  value = aws_autoscaling_group.fleet.name
}
